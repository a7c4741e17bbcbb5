"""The site of the docs: pages of the reference are made from the tables of contents of the package."""
