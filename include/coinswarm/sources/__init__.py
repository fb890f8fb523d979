"""Where the data comes from: one module a provider, listed here by hand."""
