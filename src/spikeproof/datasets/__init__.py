"""Datasets: one file each. ``prepare`` turns one into integer input codes, split into three parts."""
