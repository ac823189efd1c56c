"""Serving the page: routes and the form of their answers, and what keeps others out."""
