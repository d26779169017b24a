"""Where nodes come from: each provider launches, observes, stops and lists slaves."""
