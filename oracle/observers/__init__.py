"""Who watches a search: the protocol, and observers that come with the package."""
