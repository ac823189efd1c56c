"""Fitting the network and the trees on windows."""
