"""The pure decisions of the gateway: no I/O, no clock, no global state."""
