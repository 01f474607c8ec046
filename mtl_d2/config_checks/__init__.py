"""What ``mtl_d2.config_check`` asks, by part of the config; each check gives one line for every mistake."""
