"""Searches as Ray jobs: what travels to a cluster, and what is asked of it afterwards."""

from oracle.jobs.calls import status, stop, submit
from oracle.jobs.client import Job, Jobs, Package, make_package

__all__ = ["Job", "Jobs", "Package", "make_package", "status", "stop", "submit"]
