"""What a program reads outside its arguments: found by reading its code, kept as a list of facts."""
