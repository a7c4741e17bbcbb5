"""The suite on several Pythons and torches."""
