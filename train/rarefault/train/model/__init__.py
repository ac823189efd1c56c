"""The model: the network, the trees beside it, and the filter over windows."""
