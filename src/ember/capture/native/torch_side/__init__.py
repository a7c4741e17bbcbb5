"""What torch itself computes for a program, and the random generator that both draw from."""
