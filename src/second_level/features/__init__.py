"""Features of predicted instances, by topic; `table` puts them together."""
