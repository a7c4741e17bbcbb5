"""The contracts of the house, measured in the source: cycles, rooms, private names, sizes. ``python -m tools.house``."""
