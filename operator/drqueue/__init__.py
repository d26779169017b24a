"""DrQueue on Kubernetes: resources, operator, master, slave, command line."""
