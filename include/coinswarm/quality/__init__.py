"""The quality gate: suites built from dataset declarations, verdicts, scores, freshness and Data Docs.

Great Expectations costs two seconds and 200 MB to import, so only functions that validate or render import it.
"""
