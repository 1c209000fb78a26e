"""The collector: events of shops and pages over HTTP, written to a spool before they are answered."""
