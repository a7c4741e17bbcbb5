"""A fit over batches of data: where they come from, how they are weighed, the loop, its hooks, and what is saved of it."""
