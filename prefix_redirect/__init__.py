"""The tracker: reads a request, answers with a redirect, and records the hit before the answer leaves."""
