// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Once writes one frame without a terminal, with the rates of the interval that it
// waits for.
func Once(ctx context.Context, w io.Writer, src Source, interval time.Duration) error {
	before, err := takeLook(ctx, src)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
	}
	now, err := takeLook(ctx, src)
	if err != nil {
		return err
	}
	s := screen{look: now, before: before}
	_, err = fmt.Fprintln(w, s.frame())
	return err
}

// Run shows the screen until the user leaves it or ctx ends.
func Run(ctx context.Context, src Source, interval time.Duration) error {
	_, err := tea.NewProgram(&model{ctx: ctx, src: src, interval: interval}, tea.WithContext(ctx)).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	if missing := new(fs.PathError); errors.As(err, &missing) { // bubbletea cannot open the terminal
		return fmt.Errorf("no terminal (%w), want one, or --once", missing)
	}
	return err
}

// model is the program's state for Bubble Tea.
type model struct {
	screen
	ctx      context.Context
	src      Source
	interval time.Duration
}

// The messages of the program.
type (
	looked struct {
		look look
		err  error
	}
	ended struct {
		id  uint64
		err error
	}
	dueMsg struct{}
)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.ask }

func (m *model) ask() tea.Msg {
	l, err := takeLook(m.ctx, m.src)
	return looked{l, err}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case looked:
		m.away = msg.err
		if m.away == nil && !m.paused {
			m.before, m.look = m.look, msg.look
		}
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return dueMsg{} })
	case dueMsg:
		return m, m.ask
	case ended:
		if m.message = fmt.Sprintf("session %d was reset", msg.id); msg.err != nil {
			m.message = msg.err.Error()
		}
	case tea.KeyPressMsg:
		m.message = ""
		return m.key(msg)
	}
	return m, nil
}

// key acts on a key.
func (m *model) key(k tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	name := k.String()
	switch {
	case name == "ctrl+c":
		return m, tea.Quit
	case m.asking:
		m.asking = false
		if name == "y" {
			id := m.selected
			return m, func() tea.Msg { return ended{id, m.src.End(m.ctx, id)} }
		}
		return m, nil
	case m.typing:
		m.typeFilter(name, k.Text)
		return m, nil
	}
	switch name {
	case "q":
		return m, tea.Quit
	case "esc":
		m.details, m.filter = false, ""
	case "s":
		m.order = (m.order + 1) % orders
	case "p", "space":
		m.paused = !m.paused
	case "/":
		m.typing = true
	case "enter":
		m.details = !m.details && m.selected != 0
	case "e":
		m.asking = m.selected != 0
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	}
	return m, nil
}

func (m *model) typeFilter(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		m.filter += text
	}
}

// move selects another session.
func (m *model) move(by int) {
	rows := m.look.rows(&m.before, m.filter)
	if len(rows) == 0 {
		return
	}
	sortRows(rows, m.order)
	i := m.indexOf(rows)
	if i < 0 {
		i = -max(by, 0) // the first one
	}
	m.selected = rows[min(max(i+by, 0), len(rows)-1)].ID
}

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.WindowTitle = "pasvport top"
	return v
}
