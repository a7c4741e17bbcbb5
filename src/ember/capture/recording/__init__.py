"""Running a function once, and writing down what it does to tensors: from Python to a graph of operators."""
