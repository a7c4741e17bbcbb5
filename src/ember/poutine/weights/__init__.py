"""Handlers that weigh and mask log densities."""
