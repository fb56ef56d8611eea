"""The data plane: HTTP/1.1 and 1.0 from clients to instances, streaming both ways."""
