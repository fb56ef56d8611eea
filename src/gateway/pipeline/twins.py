"""Names of headers that servers behind us may take for one."""


def as_seen_by_servers(name: str) -> str:
    """CGI and WSGI make one variable of `x-user` and `x_user` (RFC 3875 §4.1.18)."""
    return name.lower().replace("_", "-")
