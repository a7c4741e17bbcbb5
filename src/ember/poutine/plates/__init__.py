"""Independence, subsampling, and the dims of plates."""
