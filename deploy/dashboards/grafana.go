package dashboards

// object is a JSON object.
type object = map[string]any

// source is the Prometheus that the reader chose.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// kind is how a panel looks.
type kind struct {
	grafana       string
	width, height int
	// instant is true for what is asked for the last moment alone.
	instant bool
	options object
	custom  object
}

// kinds are those of the table.
var kinds = map[string]kind{
	"": {
		grafana: "timeseries", width: 12, height: 8,
		options: object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		},
		custom: object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"},
	},
	"states": {
		grafana: "state-timeline", width: 12, height: 8,
		options: object{"mergeValues": true, "showValue": "never", "legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}},
		custom:  object{"lineWidth": 0, "fillOpacity": 70},
	},
	"stat": {
		grafana: "stat", width: 6, height: 4, instant: true,
		options: object{
			"colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		},
	},
	"table": {
		grafana: "table", width: 24, height: 8, instant: true,
		options: object{"showHeader": true, "cellHeight": "sm"},
	},
}

// columns is how wide a dashboard is.
const columns = 24

// grafana is the dashboard in Grafana's model of version 39 (Grafana 11).
//
// Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
func (d Dashboard) grafana() object {
	var panels []object
	x, y, line := 0, 0, 0
	add := func(panel object, width, height int) {
		if x+width > columns {
			x, y, line = 0, y+line, 0
		}
		panel["id"] = len(panels) + 1
		panel["gridPos"] = object{"x": x, "y": y, "w": width, "h": height}
		panels = append(panels, panel)
		x, line = x+width, max(line, height)
	}
	for _, row := range d.Rows {
		x = columns // a row begins a line
		add(object{"type": "row", "title": row.Title, "collapsed": false, "panels": []object{}}, columns, 1)
		for _, p := range row.Panels {
			panel, width, height := p.grafana()
			add(panel, width, height)
		}
	}
	variables := []object{{"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}}
	for _, v := range d.Variables {
		variables = append(variables, object{
			"type": "query", "name": v.Name, "label": v.Label, "datasource": source,
			"definition": v.Query, "query": object{"query": v.Query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
			"multi": true, "includeAll": true, "allValue": ".*", "refresh": 2, "sort": 1,
			"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
		})
	}
	return object{
		"uid": "sluice-" + d.File, "title": d.Title, "description": d.About, "tags": []string{"keda", "sluice"},
		"schemaVersion": 39, "editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time": object{"from": "now-1h", "to": "now"}, "templating": object{"list": variables}, "panels": panels,
		"annotations": object{"list": []object{}}, "links": []object{},
	}
}

func (p Panel) grafana() (panel object, width, height int) {
	k := kinds[p.Kind]
	width = p.Width
	if width == 0 {
		width = k.width
	}
	defaults := object{"unit": p.Unit}
	if p.Unit == "" {
		defaults["unit"] = "short"
	}
	if k.custom != nil {
		defaults["custom"] = k.custom
	}
	switch p.Kind {
	case "":
		defaults["min"] = 0
	case "states":
		defaults["mappings"] = []object{{"type": "value", "options": object{
			"0": object{"text": "no", "color": "text", "index": 0}, "1": object{"text": "yes", "color": "green", "index": 1},
		}}}
	case "stat":
		steps := []object{{"color": "green", "value": nil}}
		if p.Bad != 0 {
			steps = append(steps, object{"color": "red", "value": p.Bad})
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
	}
	targets := make([]object, len(p.Queries))
	for i, q := range p.Queries {
		targets[i] = object{
			"refId": string(rune('A' + i)), "datasource": source, "editorMode": "code", "expr": q.Expr,
			"range": !k.instant, "instant": k.instant,
		}
		if q.Legend != "" {
			targets[i]["legendFormat"] = q.Legend
		}
		if p.Kind == "table" {
			targets[i]["format"] = "table"
		}
	}
	panel = object{
		"type": k.grafana, "title": p.Title, "datasource": source, "targets": targets, "options": k.options,
		"fieldConfig": object{"defaults": defaults, "overrides": []object{}},
	}
	if p.About != "" {
		panel["description"] = p.About
	}
	if p.Kind == "table" {
		panel["transformations"] = []object{{"id": "organize", "options": object{"excludeByName": object{"Time": true}}}}
	}
	return panel, width, k.height
}
