"""``rarefault doctor``: is all that a daemon needs in order, and if not, what is wrong, in plain words."""
