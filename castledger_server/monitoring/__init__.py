"""What an operator watches: alert rules and a dashboard, made from the metrics that services export."""
