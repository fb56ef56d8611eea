"""The core's events, numbered: kept on disk, run again, watched over."""
