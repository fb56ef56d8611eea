"""What `benchmarks.proxy` measures with: peers side by side, load, and figures with their spread."""
