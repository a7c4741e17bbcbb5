"""What goes beyond the core: each module stands alone and is imported by its own name."""
