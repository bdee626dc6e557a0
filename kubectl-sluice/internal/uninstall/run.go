package uninstall

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Try asks the API server whether every step might be done, with nothing done:
// whoever lacks a right is told before the first of them.
func (p *Plan) Try(ctx context.Context, c *Cluster) error {
	var wrong []error
	tried := map[string]bool{} // what is released is asked once of a kind
	for _, s := range p.Steps {
		if s.ended || s.Action == Release && tried[s.Kind] {
			continue
		}
		tried[s.Kind] = tried[s.Kind] || s.Action == Release
		if err := c.do(ctx, s, true); err != nil {
			s.State, s.Error = Failed, err.Error()
			wrong = append(wrong, fmt.Errorf("%s: %w", s.object(), err))
		}
	}
	if len(wrong) > mostNamed {
		wrong = append(wrong[:mostNamed], fmt.Errorf("and %d more", len(wrong)-mostNamed))
	}
	return errors.Join(wrong...)
}

// Run carries the plan out. done is told of each step; when one fails, those
// behind it are left, and the same command goes on another time.
func (p *Plan) Run(ctx context.Context, c *Cluster, done func(*Step)) error {
	each := func(steps []*Step) error {
		for _, s := range steps {
			if !s.ended {
				if err := c.do(ctx, s, false); err != nil {
					s.State, s.Error = Failed, err.Error()
					return fmt.Errorf("%s: %w", s.object(), err)
				}
			}
			s.State = Done
			done(s)
		}
		return nil
	}
	gone := func(steps []*Step) error {
		for _, s := range steps {
			if s.kind != namespaces && s.kind != definitions && s.kind != deployments {
				continue
			}
			if err := c.gone(ctx, s.kind, s.Namespace, s.Name, s.uid); err != nil {
				s.State, s.Error = Failed, err.Error()
				return err
			}
		}
		return nil
	}
	stop, rest, kinds := p.Steps[:p.stop], p.Steps[p.stop:p.crdAt], p.Steps[p.crdAt:]
	if err := each(stop); err != nil {
		return err
	}
	if err := p.stopped(ctx, c); err != nil {
		return err
	}
	for _, part := range [][]*Step{rest, kinds} {
		if err := each(part); err != nil {
			return err
		}
		if err := gone(part); err != nil {
			return err
		}
	}
	return nil
}

// stopped waits until no controller runs.
func (p *Plan) stopped(ctx context.Context, c *Cluster) error {
	where := p.Namespace
	if p.alone {
		where = "" // one may be ending elsewhere, where Helm deleted it just now
	}
	var running []*found
	err := c.list(ctx, pods, where, metav1.ListOptions{LabelSelector: ours + "," + nameLabel + "=controller"}, func(o *found) {
		running = append(running, o)
	})
	if err != nil {
		return err
	}
	for _, pod := range running {
		if err := c.gone(ctx, pods, pod.Namespace, pod.Name, pod.UID); err != nil {
			return fmt.Errorf("a controller has not ended, and nothing else was removed: %w", err)
		}
	}
	return nil
}
