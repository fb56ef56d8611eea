"""Several workers, each a process with one event loop and one core, and the parent that keeps them."""
