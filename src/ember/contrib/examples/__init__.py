"""The data of examples, read from local files; nothing is fetched from anywhere."""
