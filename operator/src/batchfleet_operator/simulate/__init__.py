"""The whole loop on a model of a fleet: ``batchfleet-operator simulate``.

Nothing else of the operator imports this package; it imports the operator's pure core and runs
the very ``autoscale.decide`` and ``alerts.judge`` that a cluster gets.  A :class:`~.trace.Trace`
goes into a :class:`~.fleet.Fleet` of :class:`~.engine.Engine`; a :class:`~.meter.Meter` tells of it
what Prometheus would; a policy looks at that and asks for pods; ``run`` ties them together.
What the model leaves out stands in ``docs/simulate.md``.
"""
