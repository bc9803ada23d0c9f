"""Where a sample exits and what that costs: thresholds, batches and routes; policies.json; outcomes and replay."""
