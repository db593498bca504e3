"""How good the platform is, measured: targets are the product's own parts, scorers are pure functions."""
