"""The middlewares with the frameworks that they are for."""
