"""The gateway's own API: health, metrics, and the control plane with its live feed."""

from lab.control.app import Gateway

__all__ = ["Gateway"]
