"""Many parameters, and their state, side by side in flat buffers."""
