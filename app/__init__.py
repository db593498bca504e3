"""HTTP in front of the graphs: composition root, authentication, errors, streams and routes."""
