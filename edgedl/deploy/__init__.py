"""A bundle onto a device: for now, the wheel that a device needs."""
