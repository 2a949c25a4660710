"""A picture of a net, as one request."""
