"""The second level: features of instances, and the CatBoost model that rescores them."""
