"""After the fit: prediction, importance weights, k-hat, weighed samples."""
