"""The web page: what a podcaster looks at, rendered on the server, working without scripts and better with them."""
