"""Programs of one row, run over many: the loop over rows in C."""
