"""Pruners: one file each."""
