/** Schedules drawing: at most once per frame, never in a hidden tab, and never the same state twice. */

/** Milliseconds between two drawings of one panel; faster changes cannot be read. */
const PAUSE = 200;

export class Frames {
  constructor() {
    this.waiting = new Map();
    this.drawn = new Map();
    this.asked = false;
    this.held = false;
    document.addEventListener('visibilitychange', () => this.#ask());
  }

  /** Schedules one drawing with the newest state. Further calls before it have no effect. */
  draw(key, work, urgent = false) {
    this.waiting.set(key, { work, urgent: urgent || this.waiting.get(key)?.urgent === true });
    this.#ask();
  }

  /** Holds or releases the display. Urgent panels are drawn in any case. */
  hold(held) {
    this.held = held;
    this.#ask();
  }

  #ask() {
    if (this.asked || document.hidden || this.waiting.size === 0) return;
    this.asked = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  #frame(now) {
    this.asked = false;
    let later = false;
    for (const [key, { work, urgent }] of [...this.waiting]) {
      if (!urgent && this.held) continue;
      if (!urgent && now - (this.drawn.get(key) ?? -Infinity) < PAUSE) {
        later = true;
        continue;
      }
      this.waiting.delete(key);
      this.drawn.set(key, now);
      try {
        work();
      } catch (error) {
        // An error in one panel must not stop the others.
        console.error(error);
      }
    }
    if (later) setTimeout(() => this.#ask(), PAUSE / 4);
  }
}

/** Observes which elements are near the window; others need no drawing. */
export class Sight {
  constructor() {
    this.near = new WeakSet();
    this.calls = new WeakMap();
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) this.near.delete(target);
        else {
          this.near.add(target);
          this.calls.get(target)?.();
        }
      }
    }, { rootMargin: '200px' });
  }

  /** Calls back whenever the element comes near the window. */
  watch(element, call) {
    this.calls.set(element, call);
    this.observer.observe(element);
  }

  forget(element) {
    this.observer.unobserve(element);
    this.near.delete(element);
  }

  has(element) {
    return this.near.has(element);
  }
}

export const sight = new Sight();
