"""Crons: runs that begin again and again, by a schedule."""
