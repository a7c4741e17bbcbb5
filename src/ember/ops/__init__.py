"""Pure tensor functions, which know nothing of distributions or effects."""
