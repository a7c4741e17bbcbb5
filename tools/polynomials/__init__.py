"""The polynomials of the C headers: which functions they stand for, and how their coefficients are found."""
